"""Make every run of the tests the same, on a busy machine too."""

from hypothesis import settings

# No deadline: how long an example takes says more about the machine than about the code
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")
