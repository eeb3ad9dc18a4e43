package samples

func page(w http.ResponseWriter, r *http.Request) {
	// ruleid: go-missing-input-validation-number
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	size := r.FormValue("size")
	// ruleid: go-missing-input-validation-number
	rows, _ := strconv.ParseInt(size, 10, 64)
	// ok: go-missing-input-validation-number
	count, err := strconv.Atoi(r.FormValue("count"))
	// ok: go-missing-input-validation-number
	fixed, _ := strconv.Atoi(os.Getenv("ROWS"))
}

func create(c *gin.Context) {
	// ruleid: go-missing-input-validation-bind
	c.ShouldBindJSON(&order)
	// ruleid: go-missing-input-validation-bind
	_ = c.ShouldBindQuery(&order)
	// ok: go-missing-input-validation-bind
	if err := c.ShouldBindJSON(&order); err != nil {
		return
	}
	// ok: go-missing-input-validation-bind
	err := c.ShouldBindQuery(&order)
}
