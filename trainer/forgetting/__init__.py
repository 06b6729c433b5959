"""The model as if a file had never been there: trained again without it beside the present one, and erased.

Runs in a process of its own (`trainer.mains.forget`), under the lock of the models folder.
"""
