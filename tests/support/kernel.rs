//! Whether this machine can run guard at all. Who can't test says so and fails: a skipped test looks like a passed one.
