defmodule Alumiini.Git.Bench.Statistics do
  @moduledoc """
  What a list of samples comes to. Medians are compared, since one slow disk or busy neighbour moves
  a mean.
  """

  @type summary :: %{
          samples: pos_integer,
          min: number,
          q1: number,
          median: number,
          q3: number,
          max: number
        }

  @spec summary([number, ...]) :: summary
  def summary([_ | _] = samples) do
    sorted = Enum.sort(samples)

    %{
      samples: length(sorted),
      min: hd(sorted),
      q1: quantile(sorted, 0.25),
      median: quantile(sorted, 0.5),
      q3: quantile(sorted, 0.75),
      max: List.last(sorted)
    }
  end

  @doc "The quantile of samples that are sorted, with what lies between two of them in proportion."
  @spec quantile([number, ...], number) :: number
  def quantile([_ | _] = sorted, share) when share >= 0 and share <= 1 do
    place = share * (length(sorted) - 1)
    below = floor(place)

    case Enum.drop(sorted, below) do
      [last] -> last
      [low, high | _] -> low + (high - low) * (place - below)
    end
  end
end
