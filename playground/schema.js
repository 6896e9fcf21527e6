/** What the service takes, by its own description: the fields of each task, and their limits. */

/**
 * @typedef {object} Field
 * @property {string} name
 * @property {"number" | "choice" | "switch" | "list" | "pair" | "text"} kind
 * @property {number} [minimum]
 * @property {number} [maximum]
 * @property {boolean} [whole] whether it takes integers alone
 * @property {string[]} [choices]
 * @property {unknown} [usual] what it is if nothing is sent
 * @property {string} description
 */

/** Reads /openapi.json. */
export class Schema {
  /** @param {any} description */
  constructor(description) {
    const schemas = description.components.schemas;
    const body = description.paths["/predict/stream"].post.requestBody.content["application/json"].schema;
    /** @type {Map<string, Map<string, Field>>} */
    this.tasks = new Map();
    for (const [task, reference] of Object.entries(body.discriminator.mapping)) {
      const properties = Object.entries(schemas[String(reference).split("/").at(-1) ?? ""].properties);
      this.tasks.set(task, new Map(properties.map(([name, schema]) => [name, readField(name, schema)])));
    }
  }

  /**
   * Return the fields of several tasks, each once; none is usual where the tasks differ.
   * @param {readonly string[]} tasks
   * @returns {Field[]}
   */
  fields(tasks) {
    /** @type {Map<string, Field>} */
    const found = new Map();
    for (const field of tasks.flatMap((task) => [...this.tasks.get(task)?.values() ?? []])) {
      const known = found.get(field.name);
      const differs = known && JSON.stringify(known.usual) !== JSON.stringify(field.usual);
      found.set(field.name, differs ? { ...known, usual: undefined } : known ?? field);
    }
    return [...found.values()];
  }

  /** @param {string} task @param {string} name @returns {Field | undefined} */
  field(task, name) {
    return this.tasks.get(task)?.get(name);
  }
}

/** @param {string} name @param {any} schema @returns {Field} */
function readField(name, schema) {
  const kinds = (schema.anyOf ?? [schema]).filter((/** @type {any} */ kind) => kind.type !== "null");
  const found = (/** @type {(kind: any) => unknown} */ test) => kinds.find(test);
  const common = { name, usual: schema.default ?? undefined, description: schema.description ?? "" };
  const number = found((kind) => kind.type === "number" || kind.type === "integer");
  if (number) {
    const { minimum, maximum } = number;
    return { ...common, kind: "number", minimum, maximum, whole: number.type === "integer" };
  }
  const choice = found((kind) => kind.enum);
  if (choice) return { ...common, kind: "choice", choices: choice.enum };
  if (found((kind) => kind.type === "boolean")) return { ...common, kind: "switch" };
  if (found((kind) => kind.prefixItems)) return { ...common, kind: "pair" };
  if (found((kind) => kind.type === "array") && !found((kind) => kind.type === "string")) {
    return { ...common, kind: "list" };
  }
  return { ...common, kind: "text" };
}

/**
 * Return what a field's text means to the service.
 * @param {Field} field
 * @param {string} text
 * @returns {unknown} undefined if nothing is to be sent
 */
export function readValue(field, text) {
  const trimmed = text.trim();
  if (!trimmed) return undefined;
  if (field.kind === "number") return Number(trimmed);
  if (field.kind === "switch") return trimmed === "true";
  if (field.kind === "pair") return trimmed.split(/[^\d]+/).filter(Boolean).map(Number);
  if (field.kind === "list") {
    return trimmed.split(/\s*,\s*/).filter(Boolean).map((each) => /^\d+$/.test(each) ? Number(each) : each);
  }
  return trimmed;
}
