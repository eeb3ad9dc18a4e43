const escapeHtml = require("escape-html");

app.get("/hello", (req, res) => {
  const name = req.query.name;
  if (name === "a") {
    // ruleid: javascript-cross-site-scripting
    return res.send("<p>Hello " + name + "</p>");
  }
  if (name === "b") {
    // ruleid: javascript-cross-site-scripting
    return res.status(400).send(`<p>No ${req.params.id}</p>`);
  }
  if (name === "c") {
    // ok: javascript-cross-site-scripting
    return res.send("<p>Hello " + escapeHtml(name) + "</p>");
  }
  if (name === "d") {
    // ok: javascript-cross-site-scripting
    return res.send({ name });
  }
  // ok: javascript-cross-site-scripting
  return res.json({ name });
});

function show(element) {
  const part = decodeURI(location.hash.slice(1));
  // ruleid: javascript-cross-site-scripting-dom
  element.innerHTML = part;
  // ruleid: javascript-cross-site-scripting-dom
  document.write("<b>" + window.location.search + "</b>");
  // ruleid: javascript-cross-site-scripting-dom
  $("#note").html(part);
  // ok: javascript-cross-site-scripting-dom
  element.textContent = part;
  // ok: javascript-cross-site-scripting-dom
  element.innerHTML = DOMPurify.sanitize(part);
  // ok: javascript-cross-site-scripting-dom
  $("#note").text(part);
}

function Comment(props) {
  // ruleid: javascript-cross-site-scripting-react
  return <div dangerouslySetInnerHTML={{ __html: props.text }} />;
}

function Note({ text }) {
  // ruleid: javascript-cross-site-scripting-react
  return <p dangerouslySetInnerHTML={{ __html: text }}></p>;
}

function Safe(props) {
  // ok: javascript-cross-site-scripting-react
  return <div dangerouslySetInnerHTML={{ __html: DOMPurify.sanitize(props.text) }} />;
}

function Plain(props) {
  // ok: javascript-cross-site-scripting-react
  return <div>{props.text}</div>;
}

function page(state) {
  // ruleid: javascript-cross-site-scripting-serialize
  const one = serialize(state, { unsafe: true });
  // ruleid: javascript-cross-site-scripting-serialize
  const two = serialize(state, { isJSON: true, unsafe: true });
  // ok: javascript-cross-site-scripting-serialize
  const three = serialize(state);
  // ok: javascript-cross-site-scripting-serialize
  const four = serialize(state, { isJSON: true });
}
