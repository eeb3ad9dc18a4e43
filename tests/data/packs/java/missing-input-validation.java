package samples;

@RestController
class OwnerController {
  // ruleid: java-missing-input-validation
  @PostMapping("/owners") String create(Owner owner, BindingResult result) { return save(owner, result); }

  // ruleid: java-missing-input-validation
  @PutMapping("/owners") String change(@ModelAttribute("owner") Owner owner, BindingResult result) { return save(owner, result); }

  // ok: java-missing-input-validation
  @PostMapping("/pets") String pet(@Valid Pet pet, BindingResult result) { return save(pet, result); }

  // ok: java-missing-input-validation
  @PostMapping("/cats") String cat(@Validated(Create.class) Pet cat, BindingResult result) { return save(cat, result); }

  void page(HttpServletRequest request) {
    // ruleid: java-missing-input-validation-number
    int page = Integer.parseInt(request.getParameter("page"));
    String size = request.getParameter("size");
    // ruleid: java-missing-input-validation-number
    long rows = Long.parseLong(size);
    try {
      // ok: java-missing-input-validation-number
      page = Integer.parseInt(request.getParameter("page"));
    } catch (NumberFormatException e) {
      page = 1;
    }
    // ok: java-missing-input-validation-number
    int fixed = Integer.parseInt(System.getProperty("page"));
  }

  // ok: java-missing-input-validation-body
  @PostMapping("/visits") Visit add(@Valid @RequestBody Visit visit) { return store(visit); }

  // ruleid: java-missing-input-validation-body
  @PutMapping("/visits") Visit update(@RequestBody Visit visit) { return store(visit); }

  // ruleid: java-missing-input-validation-body
  @PatchMapping("/visits") Visit patch(@PathVariable int id, @RequestBody(required = true) Visit visit) { return store(visit); }

  // ok: java-missing-input-validation-body
  @PostMapping("/notes") Visit note(@RequestBody String note) { return store(note); }

  @GetMapping("/pages") int[] pages(@RequestParam int count) {
    // ruleid: java-missing-input-validation-size
    return new int[count];
  }

  @GetMapping("/dots") String dots(@RequestParam(defaultValue = "3") int count) {
    // ruleid: java-missing-input-validation-size
    return ".".repeat(count);
  }

  @GetMapping("/pages/bounded") int[] bounded(@RequestParam int count) {
    if (count < 1 || count > 100) {
      throw new IllegalArgumentException("count");
    }
    // ok: java-missing-input-validation-size
    return new int[count];
  }

  @GetMapping("/pages/capped") int[] capped(@RequestParam int count) {
    // ok: java-missing-input-validation-size
    return new int[Math.min(count, 100)];
  }
}
