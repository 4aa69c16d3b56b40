defmodule Alumiini.Git.Precompiled.Certificates do
  @moduledoc false

  # Whose certificates are believed: those of the system's authorities, and those of a file of the
  # user's beside them.

  @doc "The certificate authorities (DER)."
  @spec authorities(ca_file :: Path.t() | nil) :: {:ok, [binary]} | {:error, String.t()}
  def authorities(nil) do
    case system() do
      [] ->
        {:error,
         "this system has no certificate authorities to trust; install them (the package " <>
           "ca-certificates), or set " <>
           "ALUMIINI_GIT_CACERT to a PEM file with those to trust"}

      authorities ->
        {:ok, authorities}
    end
  end

  def authorities(path) do
    with {:ok, pem} <- File.read(path),
         [_ | _] = given <-
           for({:Certificate, der, :not_encrypted} <- :public_key.pem_decode(pem), do: der) do
      {:ok, given ++ system()}
    else
      [] -> {:error, "ALUMIINI_GIT_CACERT is #{path}, which holds no certificate in PEM form"}
      {:error, reason} -> {:error, "ALUMIINI_GIT_CACERT is #{path}: #{:file.format_error(reason)}"}
    end
  end

  # Raises where the system has none, or where none can be read.
  defp system do
    for {:cert, der, _decoded} <- :public_key.cacerts_get(), do: der
  rescue
    _none -> []
  end

  @doc "The options of `:ssl` for a connection to `host`."
  @spec options(host :: String.t(), [binary]) :: keyword
  def options(host, authorities) do
    [
      verify: :verify_peer,
      cacerts: authorities,
      depth: 8,
      # Through a proxy, OTP connects to another host: this is what the certificate is held against.
      server_name_indication: String.to_charlist(host),
      # Without it, OTP does not take wildcards.
      customize_hostname_check: [match_fun: :public_key.pkix_verify_hostname_match_fun(:https)]
    ]
  end

  @doc """
  Whether a host is an address: OTP holds a certificate against one only where it is given as a
  tuple, which httpc cannot.
  """
  @spec address?(host :: String.t()) :: boolean
  def address?(host),
    do: match?({:ok, _address}, host |> String.to_charlist() |> :inet.parse_address())
end
