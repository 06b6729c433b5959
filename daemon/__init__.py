"""The daemon: watches folders, keeps the queue, supervises the worker, reports its status.

Never imports torch.
"""
