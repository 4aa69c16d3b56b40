defmodule Alumiini.Git.Test.Proxy.Socks do
  @moduledoc """
  A proxy of SOCKS5 (RFC 1928), which lets through connections, with a user's password (RFC 1929) or
  none.
  """

  alias Alumiini.Git.Test.Proxy.Stream

  @none 0
  @password 2
  @no_method 255

  @spec serve(Stream.t(), map) :: :ok
  def serve(client, settings) do
    {<<5, count>>, client} = Stream.read!(client, 2)
    {methods, client} = Stream.read!(client, count)
    wanted = if settings.auth, do: @password, else: @none

    if wanted in :binary.bin_to_list(methods) do
      Stream.send!(client, <<5, wanted>>)
      authenticate(wanted, client, settings)
    else
      note(settings, nil, nil, @no_method)
      Stream.send!(client, <<5, @no_method>>)
      Stream.close(client)
    end
  end

  defp authenticate(@none, client, settings), do: connect(client, nil, settings)

  defp authenticate(@password, client, settings) do
    {<<1, size>>, client} = Stream.read!(client, 2)
    {user, client} = Stream.read!(client, size)
    {<<size>>, client} = Stream.read!(client, 1)
    {password, client} = Stream.read!(client, size)

    if {user, password} == settings.auth do
      Stream.send!(client, <<1, 0>>)
      connect(client, {user, password}, settings)
    else
      note(settings, {user, password}, nil, :refused)
      Stream.send!(client, <<1, 1>>)
      Stream.close(client)
    end
  end

  defp connect(client, credentials, settings) do
    {<<5, 1, 0, kind>>, client} = Stream.read!(client, 4)
    {host, client} = host(kind, client)
    {<<port::16>>, client} = Stream.read!(client, 2)
    note(settings, credentials, "#{host}:#{port}", settings.refuse || :ok)

    case settings.refuse || Stream.connect(host, port, settings) do
      {:ok, server} ->
        Stream.open!(client, server, reply(0), settings)
        Stream.join(client, server)

      :error ->
        # The host cannot be reached.
        Stream.send!(client, reply(4))
        Stream.close(client)

      code ->
        Stream.send!(client, reply(code))
        Stream.close(client)
    end
  end

  # By address, by name, by an IPv6 address.
  defp host(1, client) do
    {<<a, b, c, d>>, client} = Stream.read!(client, 4)
    {Enum.join([a, b, c, d], "."), client}
  end

  defp host(3, client) do
    {<<size>>, client} = Stream.read!(client, 1)
    Stream.read!(client, size)
  end

  defp host(4, client) do
    {bytes, client} = Stream.read!(client, 16)
    address = for <<part::16 <- bytes>>, do: part
    {address |> List.to_tuple() |> :inet.ntoa() |> List.to_string(), client}
  end

  defp reply(code), do: <<5, code, 0, 1, 0::32, 0::16>>

  defp note(settings, credentials, target, answer) do
    entry = %{method: :socks5, target: target, credentials: credentials, answer: answer}
    :ok = GenServer.call(settings.proxy, {:asked, entry})
  end
end
