defmodule Plug do
  @moduledoc """
  A stand-in for the Hex package `plug`, for networks that cannot reach Hex
  (`ALUMIINI_GIT_OFFLINE=1`).

  It has the documented functions of plug 1.14 and later that `alumiini_git` and its tests call, and
  nothing else. It is never published.
  """

  @type opts ::
          binary
          | tuple
          | atom
          | integer
          | float
          | [opts]
          | %{optional(opts) => opts}
          | MapSet.t()

  @callback init(opts) :: opts
  @callback call(conn :: Plug.Conn.t(), opts) :: Plug.Conn.t()
end

defmodule Plug.Conn.Unfetched do
  @moduledoc false
  defstruct [:aspect]

  @type t :: %__MODULE__{aspect: atom}
end

defmodule Plug.Conn do
  @moduledoc false

  alias Plug.Conn.Unfetched

  defstruct adapter: nil,
            assigns: %{},
            body_params: %Unfetched{aspect: :body_params},
            halted: false,
            method: "GET",
            path_info: [],
            req_headers: [],
            request_path: "",
            resp_body: nil,
            resp_headers: [{"cache-control", "max-age=0, private, must-revalidate"}],
            state: :unset,
            status: nil

  @type t :: %__MODULE__{}

  @spec read_body(t, keyword) :: {:ok, binary, t} | {:more, binary, t} | {:error, term}
  def read_body(%__MODULE__{adapter: {adapter, state}} = conn, options \\ []) do
    case adapter.read_req_body(state, options) do
      {:ok, data, state} -> {:ok, data, %{conn | adapter: {adapter, state}}}
      {:more, data, state} -> {:more, data, %{conn | adapter: {adapter, state}}}
      {:error, reason} -> {:error, reason}
    end
  end

  @spec put_req_header(t, binary, binary) :: t
  def put_req_header(conn, key, value),
    do: %{conn | req_headers: List.keystore(conn.req_headers, key, 0, {key, value})}

  @spec get_resp_header(t, binary) :: [binary]
  def get_resp_header(conn, key), do: for({^key, value} <- conn.resp_headers, do: value)

  @spec put_resp_header(t, binary, binary) :: t
  def put_resp_header(conn, key, value),
    do: %{conn | resp_headers: List.keystore(conn.resp_headers, key, 0, {key, value})}

  @spec put_resp_content_type(t, binary) :: t
  def put_resp_content_type(conn, content_type),
    do: put_resp_header(conn, "content-type", content_type <> "; charset=utf-8")

  @spec send_resp(t, 100..999, iodata) :: t
  def send_resp(%__MODULE__{state: :unset} = conn, status, body),
    do: %{conn | status: status, resp_body: IO.iodata_to_binary(body), state: :sent}

  @spec halt(t) :: t
  def halt(conn), do: %{conn | halted: true}
end

defmodule Plug.Builder do
  @moduledoc false

  defmacro __using__(_options) do
    quote do
      @behaviour Plug
      @before_compile Plug.Builder
      import Plug.Builder, only: [plug: 2]
      Module.register_attribute(__MODULE__, :plugs, accumulate: true)

      @impl true
      def init(options), do: options

      @impl true
      def call(conn, options), do: plug_builder_call(conn, options)
    end
  end

  defmacro plug(plug, options), do: quote(do: @plugs({unquote(plug), unquote(options)}))

  defmacro __before_compile__(env) do
    plugs =
      for {plug, options} <- Enum.reverse(Module.get_attribute(env.module, :plugs)),
          do: {plug, plug.init(options)}

    quote do
      defp plug_builder_call(conn, _options) do
        Enum.reduce_while(unquote(Macro.escape(plugs)), conn, fn {plug, options}, conn ->
          conn = plug.call(conn, options)
          if conn.halted, do: {:halt, conn}, else: {:cont, conn}
        end)
      end
    end
  end
end

defmodule Plug.Adapters.Test.Conn do
  @moduledoc false

  # As much of the body as `:length` allows at a time.
  def read_req_body(%{req_body: body} = state, options) do
    size = min(byte_size(body), Keyword.get(options, :length, 8_000_000))
    <<data::binary-size(size), rest::binary>> = body
    {if(rest == "", do: :ok, else: :more), data, %{state | req_body: rest}}
  end
end

defmodule Plug.Test do
  @moduledoc false

  @spec conn(atom | String.t(), String.t(), binary | nil) :: Plug.Conn.t()
  def conn(method, path, body \\ nil) do
    %Plug.Conn{
      adapter: {Plug.Adapters.Test.Conn, %{req_body: body || ""}},
      method: method |> to_string() |> String.upcase(),
      path_info: String.split(path, "/", trim: true),
      request_path: path
    }
  end
end
