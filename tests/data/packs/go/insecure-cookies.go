package samples

func cookies(w http.ResponseWriter, id string) {
	// ruleid: go-insecure-cookies
	http.SetCookie(w, &http.Cookie{Name: "session", Value: id})
	// ruleid: go-insecure-cookies
	half := http.Cookie{Name: "session", Value: id, HttpOnly: true}
	// ok: go-insecure-cookies
	http.SetCookie(w, &http.Cookie{Name: "session", Value: id, HttpOnly: true, Secure: true})
	// ok: go-insecure-cookies
	http.SetCookie(w, &http.Cookie{Name: "session", Value: "", MaxAge: -1})
}

func cookiesGin(c *gin.Context, id string) {
	// ruleid: go-insecure-cookies-off
	c.SetCookie("session", id, 3600, "/", "", false, true)
	// ruleid: go-insecure-cookies-off
	c.SetCookie("session", id, 3600, "/", "", true, false)
	// ok: go-insecure-cookies-off
	c.SetCookie("session", id, 3600, "/", "", true, true)
	// ok: go-insecure-cookies-off
	store.Options = &sessions.Options{Path: "/", HttpOnly: true, Secure: true}
}

func later(w http.ResponseWriter, r *http.Request, id string) {
	// ok: go-insecure-cookies, go-insecure-cookies-off
	cookie := &http.Cookie{Name: "session", Value: id, Secure: false, HttpOnly: true}
	if r.TLS != nil {
		cookie.Secure = true
	}
	http.SetCookie(w, cookie)
}
