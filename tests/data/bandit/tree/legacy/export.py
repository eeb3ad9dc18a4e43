"""Written for Python 2: it cannot be parsed."""


def export(rows):
    print "rows:", len(rows)
    return eval(rows[0])
