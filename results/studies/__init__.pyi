from .answers import Answer, append_answers, read_answers
from .importing import FileReport, import_answers
from .judgements import Judgement, Judgements, Rules, judge
from .quality import Flag, quality_flags
from .study import KeyRow, Study, StudyFiles, StudySettings, Task, write_study

__all__ = [
    "Answer",
    "FileReport",
    "Flag",
    "Judgement",
    "Judgements",
    "KeyRow",
    "Rules",
    "Study",
    "StudyFiles",
    "StudySettings",
    "Task",
    "append_answers",
    "import_answers",
    "judge",
    "quality_flags",
    "read_answers",
    "write_study",
]
