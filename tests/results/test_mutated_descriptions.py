"""Ten thousand mutated rows: each is refused clearly or imported correctly; nothing is lost unseen."""

import csv
import io
import random
import re
from collections.abc import Callable

import pytest

from dissectbench.harness.errors import InputError
from dissectbench.results import DescriptionFile, import_descriptions, read_descriptions_csv

# One file per layout: the header, then rows. The fields of a row are kept apart for the mutations.
FILES = {
    "dissectbench": (
        "layer,unit,method,description,status,score,alternatives,weights",
        'fc,0,m,dog,ok,0.5,"[""cat"", ""sky""]","[0.5, -0.25, 1e-7]"',
        "fc,1,m,,dead,,,",
        'fc,1,n,"a, b",ok,-1,,',
    ),
    "clip_dissect": (
        "layer,unit,description,similarity",
        "conv1,0,red,0.25616455",
        'fc,3,"tench, Tinca tinca",0.93',
        "fc,1,décor,1e-3",
    ),
    "milan": ("layer,unit,description", "conv1,0,Edges of objects", "fc,0,People 's faces", "fc,7,"),
    "milannotations": (
        "layer,unit,summary",
        "layer3,226,a person",
        'layer3,226,"wool, stairs"',
        "layer3,5,sky",
    ),
    "netdissect": (
        "unit,category,label,score,color-label,color-iou",
        "1,scene,art_gallery-s,0.18,blue-c,0.01",
        "2,color,red-c,0.03,red-c,0.03",
        "5,object,tv,0.2,,0",
    ),
    "dnd": ("Neuron ID,Label 1,Label 2,Label 3", "6,dogs,a dog, ", '9,"two\nlines","""x""",n/a', "7,a,,"),
    "dnd_fc": ("Neuron ID,label", "0,fishing", '1,"""quoted"""', "2,sky"),
    "study": (
        "Layer,Unit,Mean Caption Label,Topk-Sq Caption Label,Image-Products Label,Topk-Compare Label,E1",
        "1,10,a,b,c,d,3",
        '2,11,"x, y",b,b,b,5',
    ),
    "linear": (
        "layer,unit,val correlation,weight0,concept0,weight1,concept1,bias",
        'layer1,0,0.05,0.5,fishpond,-0.25,"arena, performance",0.3',
        "layer1,1,0.1,0.06,swamp,0.0,0,0.4",
    ),
    "one_layer": ("unit,description,sim correlation", "0,mating,0.018", '1,"a, b",-0.02', "2,dotted,0"),
    "invert": ("neuron,concept,concept_id,metric", "0,lhasa,n02098413,0.9336", "1,bookshop,n02871525,1"),
    "falcon": (
        "group,Unnamed: 0,concept_set_words,concept_set_noun_phrases",
        "48,48,\"[('key', 0.05)]\",\"[('red wine', 0.5), ('a jug', 0.25)]\"",
        "54,54,[],[]",
    ),
}
HOSTILE = (
    *("-1", "1.0", "1e3", "+2", " 3 ", "007", "٣", "²", "９", "1_0", "99999999999999999999", "9" * 5000),
    *("", " ", "nan", "-inf", "1e999", "0x1", "\ufeff", "\u200b", "\u2028", "\x00", "\x1b[31m", "\udcff"),
    *("x" * 200_000, '"', '""', "'", ",", ";", "\t", "\r", "\n", "\r\n", "=1+1", "[", "[[", "[1]", "{}"),
    *("null", "([" * 3000, "[('a', 1)]", "['a']", '["a"]', "ok", "missing", "constant: x", "fc", "0"),
)


def change_cell(rng: random.Random, row: str) -> str:
    cells = row.split(",")
    cells[rng.randrange(len(cells))] = rng.choice(HOSTILE)
    return ",".join(cells)


def insert(rng: random.Random, row: str) -> str:
    place = rng.randrange(len(row) + 1)
    return row[:place] + rng.choice(HOSTILE) + row[place:]


def delete(rng: random.Random, row: str) -> str:
    place = rng.randrange(len(row))
    return row[:place] + row[place + rng.randrange(1, 4) :]


def drop_or_add_separator(rng: random.Random, row: str) -> str:
    places = [match.start() for match in re.finditer(",", row)]
    place = rng.choice(places)
    return row[:place] + rng.choice(["", ",,", ", ,", ";", "\t"]) + row[place + 1 :]


def add_quotes(rng: random.Random, row: str) -> str:
    for _ in range(rng.randrange(1, 4)):
        place = rng.choice([0, len(row), *(m.start() + 1 for m in re.finditer(",", row))])
        row = row[:place] + '"' + row[place:]
    return row


def cut(rng: random.Random, row: str) -> str:
    return row[: rng.randrange(len(row))]


def repeat(rng: random.Random, row: str) -> str:
    return row + rng.choice(["\n", "\r\n", "\n\n"]) + row


ROW_MUTATIONS: tuple[Callable[[random.Random, str], str], ...] = (
    *(change_cell, insert, delete, drop_or_add_separator, add_quotes, cut, repeat),
)


def as_bytes(rng: random.Random, text: str) -> bytes:
    """The file, sometimes with another encoding, byte order mark or line ends, or cut off."""
    content = text.encode("utf-8", "surrogateescape")
    kind = rng.randrange(20)
    if kind == 0:
        return text.encode("utf-16", "replace")
    if kind == 1:
        return text.encode("latin-1", "replace")
    if kind == 2:
        return b"\xef\xbb\xbf" + content
    if kind == 3:
        return text.replace("\n", "\r\n").encode("utf-8", "surrogateescape")
    if kind == 4:
        return text.replace("\n", "\r").encode("utf-8", "surrogateescape")
    if kind == 5:
        return content[: rng.randrange(len(content))]
    return content


def keys(file: DescriptionFile) -> dict[tuple[str, str, int], tuple]:
    return {
        (row.method, row.layer, row.unit): (
            row.text,
            row.status,
            row.score,
            row.alternatives,
            row.weights,
        )
        for row in file.rows
    }


def check_import(
    file: DescriptionFile, content: bytes, original: dict, touched: set, whole: bool
) -> None:
    """Checks that every record is a row or is listed, and that rows that were not changed are equal."""
    text = content.decode("utf-8-sig")
    records = [cells for cells in csv.reader(io.StringIO(text, newline="")) if cells]
    assert file.records == len(records) - 1
    listed = file.oddities.get("repeated, read once", 0)
    listed += file.oddities.get("further description of a unit, kept as an alternative", 0)
    methods = 4 if file.layout == "scoring-function study" else 1
    assert len(file.rows) + listed == methods * file.records
    for row in file.rows:
        assert type(row.unit) is int
        assert 0 <= row.unit < 2**31
        assert (row.text is None) == (row.status != "ok")
        assert row.layer.strip() == row.layer != ""
        assert row.text is None or row.text.strip() == row.text
    # A stray quote can join rows to one cell; a row can be changed to a further description of a unit.
    joined = any("line break" in oddity or "further" in oddity for oddity in file.oddities)
    if whole and not joined:
        rows = keys(file)
        assert {key: rows.get(key) for key in original if key not in touched} == {
            key: value for key, value in original.items() if key not in touched
        }


@pytest.mark.parametrize("name", FILES)
def test_a_mutated_row_is_refused_or_imported_correctly(name, tmp_path):
    header, *rows = FILES[name]
    path = tmp_path / "words_layer9.csv"
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8", newline="")
    intact = read_descriptions_csv(path)
    original = keys(intact)
    own_keys = [keys(read(path, header, [row])).keys() for row in rows]
    outcomes = {"imported": 0, "refused": 0}
    rng = random.Random(name)
    for _ in range(840):
        index = rng.randrange(len(rows))
        mutated = list(rows)
        mutated[index] = rng.choice(ROW_MUTATIONS)(rng, rows[index])
        text = "\n".join([header, *mutated, ""])
        content = as_bytes(rng, text)
        path.write_bytes(content)
        try:
            file = read_descriptions_csv(path)
        except InputError as error:
            outcomes["refused"] += 1
            check_refusal(str(error), path)
            continue
        outcomes["imported"] += 1
        whole = content.removeprefix(b"\xef\xbb\xbf") == text.encode("utf-8", "surrogateescape")
        check_import(file, content, original, set(own_keys[index]), whole)
        if outcomes["imported"] % 5 == 0:  # writing is slow: files are synced to disk
            check_identity(path, tmp_path)
    # The mutations are neither all harmless nor all fatal.
    assert min(outcomes.values()) > 100, outcomes


def check_refusal(message: str, path) -> None:
    """Checks that a message names the file and, unless it is about the whole file, the line."""
    assert str(path) in message
    assert len(message) < 2500
    assert re.search(r"lines? \d|unknown header|known header|no rows|method's name", message), message


def read(path, header, rows) -> DescriptionFile:
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8", newline="")
    return read_descriptions_csv(path)


def check_identity(path, folder) -> None:
    """Checks that what an import writes is imported unchanged."""
    import_descriptions([path]).write(folder / "once.csv")
    import_descriptions([folder / "once.csv"]).write(folder / "twice.csv")
    assert (folder / "once.csv").read_bytes() == (folder / "twice.csv").read_bytes()
