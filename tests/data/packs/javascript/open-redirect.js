app.get("/go", (req, res) => {
  const target = req.query.next;
  if (target === "fixed") {
    // ok: javascript-open-redirect
    return res.redirect("/home");
  }
  if (target === "local") {
    // ok: javascript-open-redirect
    return res.redirect("/people/" + req.params.id);
  }
  // ruleid: javascript-open-redirect
  return res.redirect(target);
});

app.get("/out", (req, res) => {
  // ruleid: javascript-open-redirect
  res.redirect(302, req.query.url);
});

app.get("/checked", (req, res) => {
  const target = req.query.next;
  if (!ALLOWED.includes(target)) return res.sendStatus(400);
  // ok: javascript-open-redirect
  res.redirect(target);
});

app.get("/named", (req, res) => {
  const targets = { home: "/", orders: "/orders" };
  // ok: javascript-open-redirect
  res.redirect(targets[String(req.query.next)] ?? "/");
});
