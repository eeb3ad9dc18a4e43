app.get("/login", (req, res) => {
  // ruleid: javascript-insecure-cookies
  res.cookie("session_id", mark);
  // ruleid: javascript-insecure-cookies
  res.cookie("visits", "1", { httpOnly: false });
  // ok: javascript-insecure-cookies
  res.cookie("session_id", mark, { httpOnly: true, secure: true, sameSite: "lax" });
  // ok: javascript-insecure-cookies
  res.cookie("language", "de");
});
// ruleid: javascript-insecure-cookies
app.use(session({ secret: word, cookie: { secure: false } }));
// ok: javascript-insecure-cookies
app.use(session({ secret: word, cookie: { secure: true, httpOnly: true } }));
