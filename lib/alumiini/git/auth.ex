defmodule Alumiini.Git.Auth do
  @moduledoc """
  Credentials for a remote, for the `:auth` option of `Alumiini.Git.sync/4` and `Alumiini.Git.ls_remote/3`.

      auth = Alumiini.Git.Auth.token(System.fetch_env!("GIT_TOKEN"))
      Alumiini.Git.sync("https://git.example.com/team/app.git", "main", "/var/lib/app", auth: auth)

  What a value of this type holds cannot be read by looking at it: the secret is in a closure, so neither `inspect/2`
  (not even with `structs: false`) nor a crash report nor a log line shows it. It leaves the BEAM only inside the frame
  that carries the request to the worker, which never writes it to disk.

  Credentials are sent over `https://` only. Over plain `http://` a call that has some is refused with the reason
  `:invalid`, unless it also says `allow_insecure: true`. They stand above credentials in the URL
  (`https://user:password@host/…`).

  The functions raise `ArgumentError` when they are given something else than text. Its message never holds a value.
  """

  alias Alumiini.Git.Secret

  @enforce_keys [:type, :wire]
  defstruct [:type, :wire]

  @typedoc "Credentials. How the struct holds them is private."
  @opaque t :: %__MODULE__{type: :basic | :bearer, wire: Secret.t()}

  @doc """
  A user name and a password, sent as HTTP Basic authentication.

      iex> Alumiini.Git.Auth.basic("ci", "correct horse")
      #Alumiini.Git.Auth<basic>
  """
  @spec basic(String.t(), String.t()) :: t
  def basic(username, password) do
    text!("basic/2", "user name", username)
    text!("basic/2", "password", password)
    new(:basic, %{"type" => "basic", "username" => username, "password" => password})
  end

  @doc """
  An access token, sent as the password of HTTP Basic authentication, which is how the hosting services take theirs.

  The user name matters to few of them: GitHub and GitLab take any (so the default will do), Bitbucket wants
  `"x-token-auth"`.

      iex> Alumiini.Git.Auth.token("a-token", "x-token-auth")
      #Alumiini.Git.Auth<basic>
  """
  @spec token(String.t(), String.t()) :: t
  def token(token, username \\ "git") do
    text!("token/2", "token", token)
    text!("token/2", "user name", username)
    new(:basic, %{"type" => "basic", "username" => username, "password" => token})
  end

  @doc """
  A token that is sent as `Authorization: Bearer …`.

      iex> Alumiini.Git.Auth.bearer("a-token")
      #Alumiini.Git.Auth<bearer>
  """
  @spec bearer(String.t()) :: t
  def bearer(token) do
    text!("bearer/1", "token", token)
    new(:bearer, %{"type" => "bearer", "token" => token})
  end

  # What goes into a request: opened when its frame is packed, not before.
  @doc false
  @spec wire(t) :: Secret.t()
  def wire(%__MODULE__{wire: wire}), do: wire

  defp new(type, wire), do: %__MODULE__{type: type, wire: Secret.seal(wire)}

  # Not the value: it may well be the secret, wrongly wrapped.
  defp text!(function, what, value) do
    if not (is_binary(value) and String.valid?(value)) do
      raise ArgumentError, "Alumiini.Git.Auth.#{function}: the #{what} must be a UTF-8 string"
    end
  end

  defimpl Inspect do
    def inspect(%{type: type}, _opts), do: "#Alumiini.Git.Auth<#{type}>"
  end
end
