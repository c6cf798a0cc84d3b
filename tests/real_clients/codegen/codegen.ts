// region: configuration
import type { CodegenConfig } from "@graphql-codegen/cli";

const configuration: CodegenConfig = {
  schema: "./schema.graphql",
  documents: ["src/**/*.ts", "!src/gql/**"],
  generates: {
    "./src/gql/": {
      preset: "client",
      config: {
        scalars: { DateTime: "string", Decimal: "string", JSON: "unknown" },
        strictScalars: true,
        useTypeImports: true,
      },
      presetConfig: { fragmentMasking: false },
    },
  },
};

export default configuration;
// endregion
