package samples

func fetch(w http.ResponseWriter, r *http.Request) {
	target := r.URL.Query().Get("url")
	// ruleid: go-ssrf
	res, err := http.Get(target)
	// ruleid: go-ssrf
	req, err := http.NewRequest("GET", "http://"+r.FormValue("host")+"/status", nil)
	// ok: go-ssrf
	res, err = http.Get("https://weather.example.org/" + target)
	// ok: go-ssrf
	res, err = http.Get(partners[target])
	// ok: go-ssrf
	res, err = http.Get("https://weather.example.org/")
}
