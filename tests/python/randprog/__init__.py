"""Random programs of chares with an oracle; see ../random_programs.py.

values    random values, what a chare makes of one, and when two are the same
pieces    what elements contribute to reductions, and what must come out
plan      the generator of programs, which is their oracle as well
actor     carries out the statements of a program, in a @coro or an `async def` method
chares    the classes that the programs are made of
"""
