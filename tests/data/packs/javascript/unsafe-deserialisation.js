const serialize = require("node-serialize");
const yaml = require("js-yaml");

app.post("/load", (req, res) => {
  // ruleid: javascript-unsafe-deserialisation, javascript-unsafe-deserialisation-node-serialize
  const one = serialize.unserialize(req.body.profile);
  const text = req.cookies.profile;
  // ruleid: javascript-unsafe-deserialisation
  const two = yaml.unsafeLoad(text);
  // ok: javascript-unsafe-deserialisation
  const three = JSON.parse(text);
  // ok: javascript-unsafe-deserialisation
  const four = yaml.load(text);
});

function read(text) {
  // ruleid: javascript-unsafe-deserialisation-node-serialize
  const one = serialize.unserialize(text);
  // ruleid: javascript-unsafe-deserialisation-node-serialize
  const two = yaml.load(text, { schema: yaml.DEFAULT_FULL_SCHEMA });
  // ok: javascript-unsafe-deserialisation-node-serialize
  const three = serialize.serialize(text);
  // ok: javascript-unsafe-deserialisation-node-serialize
  const four = yaml.load(text, { schema: yaml.JSON_SCHEMA });
}
