defmodule Alumiini.Git.Bench.Machine do
  @moduledoc """
  What one has to know about a machine to read its figures: nothing that names it or its owner.
  """

  @spec facts() :: map
  def facts do
    %{
      date: Date.to_iso8601(Date.utc_today()),
      cores: System.schedulers_online(),
      processor: processor(),
      memory: memory(),
      kernel: command("uname", ["-sr"]),
      git: command("git", ["--version"]),
      elixir: System.version(),
      otp: System.otp_release(),
      worker: worker()
    }
  end

  defp worker do
    cond do
      System.get_env("ALUMIINI_GIT_PATH", "") != "" -> "given"
      Mix.env() == :prod -> "release"
      true -> "quick"
    end
  end

  defp command(program, arguments) do
    {output, 0} = System.cmd(program, arguments)
    String.trim(output)
  end

  defp processor, do: proc("cpuinfo", ~r/^model name\s*:\s*(.+)$/m) || "unknown processor"

  defp memory do
    case proc("meminfo", ~r/^MemTotal:\s*(\d+) kB$/m) do
      nil -> "unknown memory"
      kilobytes -> "#{round(String.to_integer(kilobytes) / 1_048_576)} GiB of memory"
    end
  end

  defp proc(file, pattern) do
    with {:ok, text} <- File.read("/proc/#{file}"),
         [_, found] <- Regex.run(pattern, text) do
      found
    else
      _ -> nil
    end
  end
end
