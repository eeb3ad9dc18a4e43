const fs = require("fs");
const path = require("path");

app.get("/file", (req, res) => {
  const name = req.query.name;
  // ruleid: javascript-path-traversal
  fs.readFile("/srv/files/" + name, done);
  // ruleid: javascript-path-traversal
  const stream = fs.createReadStream(path.join(ROOT, req.params.name));
  // ok: javascript-path-traversal
  fs.readFile(path.join(ROOT, path.basename(name)), done);
  // ok: javascript-path-traversal
  fs.readFile("/srv/files/fixed.txt", done);
  // ok: javascript-path-traversal
  res.sendFile(name, { root: ROOT });
  // ruleid: javascript-path-traversal
  res.sendFile(path.resolve(ROOT, name));
});

app.get("/checked", (req, res) => {
  const full = path.resolve(ROOT, req.query.name);
  if (!full.startsWith(ROOT + path.sep)) return res.sendStatus(404);
  // ok: javascript-path-traversal
  res.sendFile(full);
});
