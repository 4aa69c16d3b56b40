# `:soak` is for the long forms of tests; `make soak` includes them.
ExUnit.start(exclude: [:soak], capture_log: true)
