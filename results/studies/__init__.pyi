from .answers import Answer, append_answers, read_answers
from .judgements import Judgement, Judgements, Rules, judge
from .study import KeyRow, Study, StudyFiles, StudySettings, Task, write_study

__all__ = [
    "Answer",
    "Judgement",
    "Judgements",
    "KeyRow",
    "Rules",
    "Study",
    "StudyFiles",
    "StudySettings",
    "Task",
    "append_answers",
    "judge",
    "read_answers",
    "write_study",
]
