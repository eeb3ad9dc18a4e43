package samples

func hello(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	// ruleid: go-cross-site-scripting
	fmt.Fprintf(w, "<p>Hello %s</p>", name)
	// ruleid: go-cross-site-scripting
	w.Write([]byte("<p>" + name + "</p>"))
	// ok: go-cross-site-scripting
	fmt.Fprintf(w, "<p>Hello %s</p>", html.EscapeString(name))
	// ruleid: go-cross-site-scripting-template
	page := template.HTML("<b>" + name + "</b>")
	// ruleid: go-cross-site-scripting-template
	script := template.JS(r.FormValue("script"))
	// ok: go-cross-site-scripting-template
	page = template.HTML("<b>" + template.HTMLEscapeString(name) + "</b>")
	// ok: go-cross-site-scripting-template
	page = template.HTML("<hr>")
}

func plain(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	// ok: go-cross-site-scripting
	fmt.Fprintln(w, r.FormValue("name"))
}

func bold(text string) template.HTML {
	// ruleid: go-cross-site-scripting-parameter
	return template.HTML("<b>" + text + "</b>")
}

func link(target string) template.HTML {
	text := fmt.Sprintf("<a href='%s'>more</a>", target)
	// ruleid: go-cross-site-scripting-parameter
	return template.HTML(text)
}

func safeBold(text string) template.HTML {
	// ok: go-cross-site-scripting-parameter
	return template.HTML("<b>" + html.EscapeString(text) + "</b>")
}

func trusted(text string) template.HTML {
	// ok: go-cross-site-scripting-parameter
	return template.HTML(text)
}
