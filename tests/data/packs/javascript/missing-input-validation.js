app.post("/people", async (req, res) => {
  // ruleid: javascript-missing-input-validation
  const one = await Person.create(req.body);
  // ruleid: javascript-missing-input-validation
  Object.assign(one, req.body);
  // ok: javascript-missing-input-validation
  const two = await Person.create({ name: req.body.name });
  // ok: javascript-missing-input-validation
  const three = await Person.create(schema.parse(req.body));
});

app.post("/login", async (req, res) => {
  // ruleid: javascript-missing-input-validation-nosql
  const one = await people.findOne({ name: req.body.name });
  // ruleid: javascript-missing-input-validation-nosql
  const two = await people.find({ name: req.query.name });
  // ok: javascript-missing-input-validation-nosql
  const three = await people.findOne({ name: String(req.body.name) });
  // ok: javascript-missing-input-validation-nosql
  const four = await Person.findOne({ where: { name: req.body.name } });
});

app.get("/search", (req, res) => {
  const term = req.query.q;
  // ruleid: javascript-missing-input-validation-regex
  const one = new RegExp(term, "i");
  // ruleid: javascript-missing-input-validation-regex
  const two = RegExp("^" + req.params.start);
  // ok: javascript-missing-input-validation-regex
  const three = new RegExp(escapeRegExp(term));
  // ok: javascript-missing-input-validation-regex
  const four = new RegExp("^a+$").test(term);
});

app.get("/rows", (req, res) => {
  const size = parseInt(req.query.size);
  // ruleid: javascript-missing-input-validation-size
  res.json(new Array(size).fill(0));
});

app.get("/padding", (req, res) => {
  // ruleid: javascript-missing-input-validation-size
  res.send(Buffer.alloc(Number(req.query.size)));
});

app.get("/bounded", (req, res) => {
  const size = parseInt(req.query.size);
  if (!(size > 0) || size > 100) return res.sendStatus(400);
  // ok: javascript-missing-input-validation-size
  res.json(new Array(size).fill(0));
});

app.get("/capped", (req, res) => {
  // ok: javascript-missing-input-validation-size
  res.json(new Array(Math.min(Number(req.query.size), 100)).fill(0));
});
