defmodule PromEx.MetricTypes.Event do
  @moduledoc "A stand-in for PromEx 1.11, as far as a guide's plugin needs it."
  defstruct [:group_name, :metrics]
  def build(group_name, metrics), do: %__MODULE__{group_name: group_name, metrics: metrics}
end

defmodule PromEx.MetricTypes.Polling do
  @moduledoc "A stand-in for PromEx 1.11, as far as a guide's plugin needs it."
  defstruct [:group_name, :poll_rate, :measurements_mfa, :metrics]

  def build(group_name, poll_rate, mfa, metrics) do
    %__MODULE__{
      group_name: group_name,
      poll_rate: poll_rate,
      measurements_mfa: mfa,
      metrics: metrics
    }
  end
end

defmodule PromEx.Plugin do
  @moduledoc "A stand-in for PromEx 1.11, as far as a guide's plugin needs it."

  alias PromEx.MetricTypes.{Event, Polling}

  @callback event_metrics(keyword) :: [struct] | %Event{}
  @callback polling_metrics(keyword) :: [struct] | %Polling{}

  defmacro __using__(_options) do
    quote do
      @behaviour PromEx.Plugin
      alias PromEx.MetricTypes.{Event, Polling}

      @impl true
      def event_metrics(_options), do: []
      @impl true
      def polling_metrics(_options), do: []
      defoverridable PromEx.Plugin
    end
  end
end
