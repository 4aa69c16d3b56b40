defmodule Alumiini.Git.Precompiled.Otp do
  @moduledoc false

  # The applications of OTP that take part while a project is compiled, and not when it runs: no
  # project depends on them for our sake, and no release carries them for it.

  @applications [:crypto, :public_key, :ssl, :inets]

  @doc "Puts them into the code path, which Mix has cleared of them from Elixir 1.15 on."
  @spec load() :: :ok | {:error, String.t()}
  def load do
    if Code.ensure_loaded?(Mix) and function_exported?(Mix, :ensure_application!, 1) do
      Enum.each(@applications, &apply(Mix, :ensure_application!, [&1]))
    end

    case Enum.reject([:crypto, :public_key, :ssl, :httpc], &Code.ensure_loaded?/1) do
      [] ->
        :ok

      [missing | _] ->
        {:error,
         "OTP's #{missing} is not installed, which downloads need; install all of Erlang/OTP"}
    end
  end
end
