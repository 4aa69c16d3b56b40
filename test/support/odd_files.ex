defmodule Alumiini.Git.Test.OddFiles do
  @moduledoc "A tree of everything that a checkout can get wrong."

  @spec all() :: %{binary => Alumiini.Git.Test.FastImport.content()}
  def all do
    %{
      ".gitattributes" =>
        "* text=auto eol=crlf\n*.ident ident\n*.utf16 text " <>
          "working-tree-encoding=UTF-16\n*.lfs filter=lfs\n",
      ".gitignore" => "ignored/\n*.log\n",
      "committed.log" => "ignored by name, and committed all the same\n",
      "lines/unix.yaml" => "a: 1\nb: 2\n",
      "lines/windows.yaml" => "a: 1\r\nb: 2\r\n",
      "lines/mixed.yaml" => "a: 1\r\nb: 2\n\r\r\n",
      "lines/no-newline.yaml" => "a: 1",
      "empty.yaml" => "",
      "keyword.ident" => "$Id$\n",
      "text.utf16" => "text: ü\n",
      "pointer.lfs" => "version 1\n",
      "bytes.bin" => for(_ <- 1..64, into: "", do: :binary.list_to_bin(Enum.to_list(0..255))),
      "scripts/run.sh" => {:executable, "#!/bin/sh\necho run\n"},
      "links/to-file" => {:symlink, "../lines/unix.yaml"},
      "links/to-directory" => {:symlink, "../lines"},
      "links/dangling" => {:symlink, "nowhere"},
      "names/with space.yaml" => "a: 1\n",
      "names/grüße-日本語.yaml" => "a: 2\n",
      "names/latin1-\xfc\xff.yaml" => "a: 3\n",
      "names/quote\"and\\backslash.yaml" => "a: 4\n",
      "names/new\nline.yaml" => "a: 5\n",
      "names/-dash.yaml" => "a: 6\n",
      "names/*star?.yaml" => "a: 7\n",
      "a/very/deep/directory/that/goes/on/and/on/until/it/ends/here.yaml" => "deep: true\n"
    }
  end
end
