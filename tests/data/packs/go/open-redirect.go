package samples

func login(w http.ResponseWriter, r *http.Request) {
	next := r.FormValue("next")
	// ruleid: go-open-redirect
	http.Redirect(w, r, next, http.StatusFound)
	// ok: go-open-redirect
	http.Redirect(w, r, "/login?next="+next, http.StatusFound)
	// ok: go-open-redirect
	http.Redirect(w, r, fmt.Sprintf("/owners/%s", next), http.StatusFound)
	// ok: go-open-redirect
	http.Redirect(w, r, targets[next], http.StatusFound)
}

func loginGin(c *gin.Context) {
	// ruleid: go-open-redirect
	c.Redirect(http.StatusFound, c.Query("next"))
	// ok: go-open-redirect
	c.Redirect(http.StatusFound, "/home")
}

func leave(w http.ResponseWriter, r *http.Request) {
	target, err := url.Parse(r.URL.Query().Get("next"))
	if err != nil || target.Host != "shop.example" {
		target = &url.URL{Path: "/"}
	}
	// ok: go-open-redirect
	http.Redirect(w, r, target.String(), http.StatusFound)
}
