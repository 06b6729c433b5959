"""From a dropped file to a job: watch the inbox, wait until a file is complete, claim it, check its rows."""
