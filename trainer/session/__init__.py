"""A run of jobs in one warm process: the engine, the session, the job in training, and when to save.

`session` obeys commands between steps; `engine` holds the model and is the library's face. How a step is
computed is none of its business.
"""
