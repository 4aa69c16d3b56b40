defmodule Alumiini.Git.Test.Certificates do
  @moduledoc """
  Certificates for servers on loopback, made with OTP alone.

      certificate = Certificates.build(:good)
      {HttpServer, root: root, tls: certificate.tls}
      File.write!(ca_file, certificate.ca)
  """

  @curve {:namedCurve, {1, 2, 840, 10045, 3, 1, 7}}
  @key_usage {2, 5, 29, 15}
  @subject_alt_name {2, 5, 29, 17}
  @basic_constraints {2, 5, 29, 19}

  @client_auth {1, 3, 6, 1, 5, 5, 7, 3, 2}
  @ext_key_usage {2, 5, 29, 37}

  @type kind ::
          :good | :expired | :not_yet_valid | :wrong_host | :self_signed | :self_signed_expired
  @type t :: %{tls: keyword, ca: String.t(), certificate: String.t()}

  @doc """
  A certificate for `localhost` and `127.0.0.1`, or one with a flaw.

  `tls` is for the server; `ca` is the authority that a client has to trust, as PEM. For
  `:self_signed`, `ca` is the authority of another certificate, so that no client that checks can
  trust it.
  """
  @spec build(kind) :: t
  def build(kind) when kind in [:self_signed, :self_signed_expired] do
    # OTP would make it an authority, which clients refuse for that and not for what is to be
    # tested.
    extensions = [
      names(["localhost"], [{127, 0, 0, 1}]),
      {:Extension, @key_usage, false, [:digitalSignature]},
      {:Extension, @basic_constraints, true, {:BasicConstraints, false, :asn1_NOVALUE}}
    ]

    validity = if kind == :self_signed, do: [], else: [validity: {{2019, 1, 1}, {2020, 1, 1}}]
    options = [key: @curve, digest: :sha256, extensions: extensions] ++ validity
    %{cert: der, key: key} = :public_key.pkix_test_root_cert(~c"localhost", options)
    der = without_parameters(der, key)

    tls = [cert: der, key: {:ECPrivateKey, :public_key.der_encode(:ECPrivateKey, key)}]
    %{tls: tls, ca: build(:good).ca, certificate: pem([der])}
  end

  def build(kind) do
    authority = [key: @curve, digest: :sha256]

    peer =
      case kind do
        :good ->
          [extensions: [names(["localhost"], [{127, 0, 0, 1}])]]

        :wrong_host ->
          [extensions: [names(["elsewhere.example"], [])]]

        :expired ->
          [
            extensions: [names(["localhost"], [{127, 0, 0, 1}])],
            validity: {{2019, 1, 1}, {2020, 1, 1}}
          ]

        :not_yet_valid ->
          [
            extensions: [names(["localhost"], [{127, 0, 0, 1}])],
            validity: {{2048, 1, 1}, {2049, 1, 1}}
          ]
      end

    root =
      :public_key.pkix_test_root_cert(
        ~c"Test Authority #{System.unique_integer([:positive])}",
        authority
      )

    chain = %{root: root, intermediates: [], peer: authority ++ peer}

    %{server_config: server, client_config: client} =
      :public_key.pkix_test_data(%{server_chain: chain, client_chain: chain})

    certificate = without_parameters(server[:cert], root.key)

    %{
      # Without `cacerts`, which would be sent along and asked of clients.
      tls: [cert: certificate, key: server[:key]],
      ca: pem(client[:cacerts]),
      certificate: pem([certificate])
    }
  end

  @doc """
  A client's certificate and its key, and the authority that a server has to trust, all as PEM.
  """
  @spec client(String.t()) :: %{
          cert: String.t(),
          key: String.t(),
          ca: String.t(),
          cacerts: [binary]
        }
  def client(name \\ "client") do
    options = [key: @curve, digest: :sha256]
    authority = ~c"Test Clients #{System.unique_integer([:positive])}"
    root = :public_key.pkix_test_root_cert(authority, options)

    purpose = {:Extension, @ext_key_usage, false, [@client_auth]}

    chain = %{
      root: root,
      intermediates: [],
      peer: options ++ [extensions: [names([name], []), purpose]]
    }

    %{client_config: client} =
      :public_key.pkix_test_data(%{server_chain: chain, client_chain: chain})

    {type, key} = client[:key]

    %{
      cert: pem([without_parameters(client[:cert], root.key)]),
      key: :public_key.pem_encode([{type, key, :not_encrypted}]),
      ca: pem([root.cert]),
      cacerts: [root.cert]
    }
  end

  # OTP names the curve along with the signature's algorithm, where RFC 5758 (3.2) wants no
  # parameters; some clients refuse such certificates.
  defp without_parameters(der, issuer_key) do
    {:OTPCertificate, certificate, _algorithm, _signature} = :public_key.pkix_decode_cert(der, :otp)
    {:SignatureAlgorithm, algorithm, _parameters} = elem(certificate, 3)
    certificate = put_elem(certificate, 3, {:SignatureAlgorithm, algorithm, :asn1_NOVALUE})
    :public_key.pkix_sign(certificate, issuer_key)
  end

  defp names(hosts, addresses) do
    names =
      for(host <- hosts, do: {:dNSName, String.to_charlist(host)}) ++
        for {a, b, c, d} <- addresses, do: {:iPAddress, <<a, b, c, d>>}

    {:Extension, @subject_alt_name, false, names}
  end

  defp pem(ders) do
    :public_key.pem_encode(for der <- ders, do: {:Certificate, der, :not_encrypted})
  end
end
