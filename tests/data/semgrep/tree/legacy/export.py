# Written for Python 2, and cut off in the middle.
def export(rows:
    for row in rows
        print "{{TOKEN_1}} %s" % row
    return (
