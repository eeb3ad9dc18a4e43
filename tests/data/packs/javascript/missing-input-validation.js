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
