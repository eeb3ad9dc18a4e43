const libxmljs = require("libxmljs");

function read(text) {
  // ruleid: javascript-xxe
  const one = libxmljs.parseXml(text, { noent: true });
  // ruleid: javascript-xxe
  const two = libxmljs.parseXmlString(text, { noblanks: true, dtdload: true });
  // ok: javascript-xxe
  const three = libxmljs.parseXml(text);
  // ok: javascript-xxe
  const four = libxmljs.parseXml(text, { noent: false, noblanks: true });
}
