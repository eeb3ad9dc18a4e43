package samples

// ruleid: go-hard-coded-credentials
const dbPassword = "Sample-value-42"

// ok: go-hard-coded-credentials
const passwordField = "Sample-value-42"

// ok: go-hard-coded-credentials
var apiKey = os.Getenv("API_KEY")

func connect(req *http.Request, given string, token *jwt.Token) {
	// ruleid: go-hard-coded-credentials
	apiSecret := "Sample-value-43"
	// ok: go-hard-coded-credentials
	password := given
	// ruleid: go-hard-coded-credentials-argument
	req.SetBasicAuth("reader", "Sample-value-42")
	// ruleid: go-hard-coded-credentials-argument
	signed, err := token.SignedString([]byte("Sample-value-42"))
	// ok: go-hard-coded-credentials-argument
	req.SetBasicAuth("reader", given)
	// ok: go-hard-coded-credentials-argument
	signed, err = token.SignedString([]byte(given))
	// ok: go-hard-coded-credentials-argument
	db, err := sql.Open("sqlite", "file:data.db")
}
