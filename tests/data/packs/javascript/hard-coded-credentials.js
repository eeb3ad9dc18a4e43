// ruleid: javascript-hard-coded-credentials
const dbPassword = "blue-harbour-lamp";
// ruleid: javascript-hard-coded-credentials
config.jwtSecret = "seven-quiet-geese";
// ok: javascript-hard-coded-credentials
const apiKey = process.env.API_KEY;
// ok: javascript-hard-coded-credentials
let password = "";
// ok: javascript-hard-coded-credentials
const secret = "change-me-before-use";
// ok: javascript-hard-coded-credentials
loader.ApiKey = "notsupplied";
// ok: javascript-hard-coded-credentials
const passwordLabel = "blue-harbour-lamp";

// ruleid: javascript-hard-coded-credentials-argument
app.use(session({ secret: "seven quiet geese", resave: false }));
// ruleid: javascript-hard-coded-credentials-argument
const mark = jwt.sign({ name }, "seven-quiet-geese");
// ok: javascript-hard-coded-credentials-argument
app.use(session({ secret: process.env.SESSION_WORD, resave: false }));
// ok: javascript-hard-coded-credentials-argument
const other = jwt.sign({ name }, config.key);
