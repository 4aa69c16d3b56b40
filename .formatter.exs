[
  inputs: [
    "{mix,.formatter}.exs",
    "{lib,test,bench,release}/**/*.{ex,exs}",
    "examples/*/mix.exs",
    "examples/*/lib/**/*.ex",
    "examples/*/test/*.exs"
  ],
  line_length: 100,
  # The variants with `!` in lib/alumiini/git.ex.
  locals_without_parens: [bang: 1]
]
