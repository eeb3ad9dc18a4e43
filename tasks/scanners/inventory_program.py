"""Run inside the sandbox: what the manifests of a checkout say; one JSON line in, one out (see ``filewise``).

``python inventory_program.py TASKS FOLDER``: TASKS is the package ``tasks`` of this project, in a folder of that name;
all checkouts lie below FOLDER. Request: ``{"root": "/nightwarden/checkouts/x"}``. Answer: ``manifests`` (see
``tasks.deps.documents``, each with its ``path``), ``others`` (no format takes the file) and ``unparsed`` (``why`` and
``line`` say what is wrong).

Nothing is judged here that needs another file: each file is read for itself.
"""

import json
import os
import sys


def report_of(root, reader):
    """All files below a folder."""
    report = {"manifests": [], "others": [], "unparsed": []}
    for folder, _, names in os.walk(root):
        for name in names:
            place = os.path.join(folder, name)
            path = os.path.relpath(place, root)
            kind, told = reader(path, place)
            report[kind].append({"path": path, **told} if kind != "others" else path)
    return report


def reader_of(tasks):
    """What reads one file: the list of the report that it belongs to, and what is told of it."""
    sys.path.insert(0, os.path.dirname(tasks))
    from tasks.deps.catalogue import format_of
    from tasks.deps.documents import to_document
    from tasks.deps.manifest import MalformedError

    def read(path, place):
        form = format_of(path)
        if form is None:
            return "others", None
        try:
            with open(place, "rb") as f:
                manifest = form.parse(f.read(), path.rpartition("/")[2])
        except MalformedError as e:
            return "unparsed", {"format": form.name, "why": str(e.why), "detail": str(e), "line": e.line}
        except (RecursionError, MemoryError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as e:
            # A fault of a reader at one file must not take the others along; the file is a gap.
            return "unparsed", {"format": form.name, "why": "malformed", "detail": type(e).__name__, "line": None}
        return "manifests", to_document(manifest)

    return read


def main():
    """Serve until the input ends."""
    read = reader_of(sys.argv[1])
    for line in sys.stdin:
        root = json.loads(line)["root"]
        try:
            if not os.path.isdir(root):
                raise FileNotFoundError  # nothing would be found in it, and that would be the answer
            answer = report_of(root, read)
        except Exception as e:
            answer = {"ok": False, "error": type(e).__name__}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
