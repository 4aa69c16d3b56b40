[
  inputs: [
    "{mix,.formatter}.exs",
    "{lib,test,bench}/**/*.{ex,exs}",
    "examples/*/mix.exs",
    "examples/*/lib/*.ex"
  ],
  line_length: 110
]
