"""Turn a dropped file into a job: watch the inbox, wait until it is complete, claim it, check its rows."""
