defmodule Alumiini.Git.Test.PeerNode do
  @moduledoc "Nodes beside this one, on loopback, for tests of what goes over distribution."

  @doc """
  Makes this node a distributed one, named after `name`, if it is none. The daemon stays: it is one
  for all of the machine's nodes.
  """
  @spec distribute!(String.t()) :: :ok
  def distribute!(name) do
    epmd = System.find_executable("epmd") || Path.join(List.to_string(:code.root_dir()), "bin/epmd")
    {_output, 0} = System.cmd(epmd, ["-daemon"])
    if not Node.alive?(), do: {:ok, _pid} = :net_kernel.start([full(name), :longnames])
    :ok
  end

  @doc "The name for `:peer`. Others may run the same tests on this machine."
  @spec short(String.t()) :: atom
  def short(name), do: :"alumiini_git_#{name}_#{System.pid()}"

  @doc "The name that others know it by."
  @spec full(String.t()) :: node
  def full(name), do: :"#{short(name)}@127.0.0.1"

  @doc "The arguments of a node that has this one's code and cookie."
  @spec args() :: [charlist]
  def args do
    Enum.flat_map(:code.get_path(), &[~c"-pa", &1]) ++
      [
        ~c"-kernel",
        ~c"logger_level",
        ~c"error",
        ~c"-setcookie",
        Atom.to_charlist(Node.get_cookie())
      ]
  end
end
