"""From a file and its job's settings to the examples of every step: profile, template, plan, cache, replay.

Holds no model and takes no step. Sessions, evaluation and the helper processes all render rows through here.
"""
