defmodule Alumiini.Git.OneLine do
  @moduledoc false

  # Names and URLs are chosen by others, and a line break of theirs in a sentence of ours would be a
  # line of somebody's log. The worker escapes the same in what it says.

  # C0, DEL and C1 (as UTF-8), the other ends of lines and what turns the direction of text: a look
  # at bytes, for names need not be text. No module attribute: from OTP 28 on a compiled regex
  # cannot be one.
  defp unfit,
    do: ~r/[\x00-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]/

  @spec escape(binary) :: binary
  def escape(text) do
    if plain?(text), do: text, else: Regex.replace(unfit(), text, &escaped/1)
  end

  # Most text is, and every call comes through here with its path.
  defp plain?(<<char, rest::binary>>) when char in 0x20..0x7E, do: plain?(rest)
  defp plain?(rest), do: rest == ""

  defp escaped("\n"), do: "\\n"
  defp escaped("\r"), do: "\\r"
  defp escaped("\t"), do: "\\t"
  defp escaped(<<char::utf8>>), do: "\\u{" <> String.downcase(Integer.to_string(char, 16)) <> "}"
end
