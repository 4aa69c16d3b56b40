[
  inputs: [
    "{mix,.formatter}.exs",
    "{lib,test,bench,release}/**/*.{ex,exs}",
    "examples/*/mix.exs",
    "examples/*/lib/*.ex"
  ],
  line_length: 100
]
