"""The daemon: watches folders, keeps the queue, supervises the worker, says what is going on.

Never imports torch.
"""
