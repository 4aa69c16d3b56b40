defmodule Alumiini.Git.Test.Manifests do
  @moduledoc "Kubernetes manifests, as a repository of a GitOps controller holds them."

  @doc """
  The repository of one shop: a few applications, each for two environments, and what they share.
  """
  @spec shop() :: %{String.t() => String.t()}
  def shop do
    applications = for name <- ~w(cart catalog checkout payments), do: application(name)

    applications
    |> Enum.reduce(%{}, &Map.merge/2)
    |> Map.merge(%{
      "README.md" => "# Shop\n\nEverything that runs in the cluster `shop`.\n",
      "cluster/namespaces.yaml" => namespace("shop") <> "---\n" <> namespace("shop-staging"),
      "cluster/network-policy.yaml" => network_policy(),
      "cluster/quota.yml" => quota(),
      "scripts/validate.sh" => "#!/bin/sh\nexec kubeconform -strict deploy cluster\n"
    })
  end

  @doc "The files of one application."
  @spec application(String.t(), keyword) :: %{String.t() => String.t()}
  def application(name, options \\ []) do
    %{
      "deploy/#{name}/configmap.yaml" => configmap(name),
      "deploy/#{name}/deployment.yaml" => deployment(name, options),
      "deploy/#{name}/service.yaml" => service(name),
      "deploy/#{name}/overlays/staging/replicas.yaml" => replicas(name, 1),
      "deploy/#{name}/overlays/production/replicas.yaml" => replicas(name, 4)
    }
  end

  @doc """
  `count` manifests in directories of 30 (or of `:each`), all different. With `:bytes`, each carries
  about so much data that does not compress, so that transfers take their time; the same for the
  same seed.
  """
  @spec many(pos_integer, keyword) :: [{String.t(), iodata}]
  def many(count, options \\ []) do
    bytes = options[:bytes] || 0
    each = options[:each] || 30
    random = :rand.seed_s(:exsss, options[:seed] || 1)

    {files, _random} =
      Enum.map_reduce(1..count, random, fn n, random ->
        {data, random} = :rand.bytes_s(div(bytes * 3, 4), random)
        path = "tenants/#{pad(div(n - 1, each), 4)}/#{pad(rem(n - 1, each), 2)}-configmap.yaml"
        {{path, [configmap("tenant-#{n}"), payload(data)]}, random}
      end)

    files
  end

  defp payload(""), do: ""
  defp payload(data), do: ["binaryData:\n  payload: ", Base.encode64(data), "\n"]

  defp pad(number, width), do: number |> Integer.to_string() |> String.pad_leading(width, "0")

  @spec deployment(String.t(), keyword) :: String.t()
  def deployment(name, options \\ []) do
    """
    apiVersion: apps/v1
    kind: Deployment
    metadata:
      name: #{name}
      namespace: shop
      labels:
        app.kubernetes.io/name: #{name}
        app.kubernetes.io/part-of: shop
    spec:
      replicas: #{options[:replicas] || 2}
      selector:
        matchLabels:
          app.kubernetes.io/name: #{name}
      template:
        metadata:
          labels:
            app.kubernetes.io/name: #{name}
        spec:
          containers:
            - name: #{name}
              image: registry.example.com/shop/#{name}:#{options[:version] || "1.4.0"}
              ports:
                - containerPort: 8080
              envFrom:
                - configMapRef:
                    name: #{name}
              readinessProbe:
                httpGet:
                  path: /healthz
                  port: 8080
              resources:
                requests:
                  cpu: 100m
                  memory: 128Mi
                limits:
                  memory: 256Mi
    """
  end

  @spec configmap(String.t()) :: String.t()
  def configmap(name) do
    """
    apiVersion: v1
    kind: ConfigMap
    metadata:
      name: #{name}
      namespace: shop
    data:
      LOG_LEVEL: info
      SERVICE_NAME: #{name}
    """
  end

  @spec autoscaler(String.t()) :: String.t()
  def autoscaler(name) do
    """
    apiVersion: autoscaling/v2
    kind: HorizontalPodAutoscaler
    metadata:
      name: #{name}
      namespace: shop
    spec:
      scaleTargetRef:
        apiVersion: apps/v1
        kind: Deployment
        name: #{name}
      minReplicas: 3
      maxReplicas: 10
    """
  end

  defp service(name) do
    """
    apiVersion: v1
    kind: Service
    metadata:
      name: #{name}
      namespace: shop
    spec:
      selector:
        app.kubernetes.io/name: #{name}
      ports:
        - port: 80
          targetPort: 8080
    """
  end

  defp replicas(name, count) do
    """
    apiVersion: apps/v1
    kind: Deployment
    metadata:
      name: #{name}
      namespace: shop
    spec:
      replicas: #{count}
    """
  end

  defp namespace(name) do
    """
    apiVersion: v1
    kind: Namespace
    metadata:
      name: #{name}
    """
  end

  defp network_policy do
    """
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata:
      name: same-namespace-only
      namespace: shop
    spec:
      podSelector: {}
      ingress:
        - from:
            - podSelector: {}
    """
  end

  defp quota do
    """
    apiVersion: v1
    kind: ResourceQuota
    metadata:
      name: compute
      namespace: shop
    spec:
      hard:
        requests.cpu: "8"
        requests.memory: 16Gi
    """
  end
end
