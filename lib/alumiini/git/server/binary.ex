defmodule Alumiini.Git.Server.Binary do
  @moduledoc false

  # Where the worker's binary is. Never looked for in the current directory or in PATH: what runs
  # must be what was built.

  # The tests of this library run a build that can be told to crash, which must not become the one
  # that others run. (As a dependency this is compiled in :prod whatever the project's own
  # environment is.)
  @name if Mix.env() == :test, do: "alumiini-git-test", else: "alumiini-git"

  @doc "The name under which the Mix compiler puts the binary into the build's `priv/`."
  @spec name() :: String.t()
  def name do
    case :os.type() do
      {:win32, _} -> @name <> ".exe"
      _unix -> @name
    end
  end

  @doc "Whether that binary is the one of the tests, which can be told to crash."
  @spec faults?() :: boolean
  def faults?, do: String.starts_with?(name(), "alumiini-git-test")

  @doc """
  The path of the binary to run: the `:binary` option, the `:binary` key of the application's
  environment, or `priv/`.
  """
  @spec locate(Path.t() | nil) :: {:ok, Path.t()} | {:error, String.t()}
  def locate(given) do
    cond do
      is_binary(given) -> {:ok, given}
      configured = Application.get_env(:alumiini_git, :binary) -> configured(configured)
      true -> in_priv()
    end
  end

  defp configured(path) do
    if is_binary(path) and Path.type(path) == :absolute,
      do: {:ok, path},
      else: {:error, "config :alumiini_git, :binary must be an absolute path"}
  end

  defp in_priv do
    case :code.priv_dir(:alumiini_git) do
      {:error, :bad_name} ->
        {:error,
         "the application alumiini_git has no priv directory here (an escript has none); " <>
           "give the worker's path with the :binary option"}

      priv ->
        {:ok, Path.join(List.to_string(priv), name())}
    end
  end

  # Where things are: the user's home (`known_hosts`), programs, the agent, certificates, temporary
  # files, libraries for the loader.
  @needed ~w(HOME PATH SSH_AUTH_SOCK SSL_CERT_FILE SSL_CERT_DIR TMPDIR TMP TEMP LANG LANGUAGE
    LD_LIBRARY_PATH NIX_LD NIX_LD_LIBRARY_PATH RUST_BACKTRACE)c

  @doc """
  The variables that the worker must not inherit, in the form that `Port.open/2` takes: all but the
  few that it needs. A BEAM's environment is full of secrets that are none of its business, and its
  own must not depend on the machine.
  """
  @spec scrubbed_env() :: [{charlist, false}]
  def scrubbed_env do
    for {name, _value} <- :os.env(), not needed?(name), do: {name, false}
  end

  defp needed?(name), do: name in @needed or List.starts_with?(name, ~c"LC_")
end
