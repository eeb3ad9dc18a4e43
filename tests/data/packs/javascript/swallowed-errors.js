function one(file) {
  try {
    remove(file);
  // ruleid: javascript-swallowed-errors
  } catch (error) {}
  try {
    remove(file);
  // ruleid: javascript-swallowed-errors
  } catch (e) {
  }
  try {
    remove(file);
  // ok: javascript-swallowed-errors
  } catch (error) {
    // the folder goes anyway
  }
  try {
    remove(file);
  // ok: javascript-swallowed-errors
  } catch (error) {
    log.warn(error);
  }
}

function two(work) {
  // ruleid: javascript-swallowed-errors-promise
  work().catch(() => {});
  // ruleid: javascript-swallowed-errors-promise
  work().catch(function (error) {});
  // ok: javascript-swallowed-errors-promise
  work().catch((error) => log.warn(error));
  // ok: javascript-swallowed-errors-promise
  work().catch(() => null);
}
