const https = require("https");

// ruleid: javascript-tls-off
const one = new https.Agent({ rejectUnauthorized: false });
// ruleid: javascript-tls-off
process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
// ok: javascript-tls-off
const two = new https.Agent({ rejectUnauthorized: true });
// ok: javascript-tls-off
const three = new https.Agent({ ca: authority });

// ruleid: javascript-tls-off-old-protocol
const four = tls.createServer({ minVersion: "TLSv1" });
// ruleid: javascript-tls-off-old-protocol
const five = https.createServer({ key, secureProtocol: "TLSv1_method" });
// ok: javascript-tls-off-old-protocol
const six = tls.createServer({ minVersion: "TLSv1.2" });
// ok: javascript-tls-off-old-protocol
const seven = https.createServer({ key, secureProtocol: "TLS_method" });
