"""The command line: one file per verb, and what the verbs share. It parses and prints, nothing else.

Results go to stdout, everything else to stderr. Exit status: 0 done, 1 failed, 2 wrong use, 3 done but the
verdict is negative, 128 + the number of the signal that ended it: 130 after Ctrl-C.

A new verb is one file and one row:

1. ``cli/NAME.py`` holds a function NAME. Its parameters are the arguments and options. `described` gives it
   its help. It works within ``with session(debug)``, calls the library, and prints what the library returns.
2. ``cli/verbs.py`` says in ``VERBS`` what it does, in the order of ``camnorm --help``. A verb is imported
   when it runs, so that the program's own help and version take little time.

What verbs share: `options` (options of several verbs, and the objects made of them), `session` (errors,
signals, streams, exit status), `messages` (lines on stderr), `progress`, `results` (JSON, facts, tables),
`judgements` (findings and verdicts in words), `sensorfacts` (a sensor in words), `helptext`.
"""

from camnorm.cli.app import main

__all__ = ["main"]
